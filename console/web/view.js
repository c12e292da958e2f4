// Builds what the page shows. Everything that came from outside enters the
// document as text (textContent, or the value of a form field) and as nothing
// else: there is no place where a string becomes markup, a URL or code.

// el makes an element. Children are elements or text.
export function el(tag, attrs, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs || {})) {
    if (name === "on") node.addEventListener(value[0], value[1]);
    else if (name === "class") node.className = value;
    else if (name === "label") node.ariaLabel = value;
    else if (name === "type" || name === "scope" || name === "value" || name === "max" || name === "title") node[name] = value;
    else throw new Error("bug: attribute " + name);
  }
  for (const child of children) node.append(child instanceof Node ? child : document.createTextNode(String(child ?? "")));
  return node;
}

// fill replaces what is in a node.
export function fill(node, ...children) {
  node.replaceChildren(...children);
}

const good = new Set(["booked", "unchanged"]);
const bad = new Set(["conflict", "invalid", "failed", "unmatched", "rejected"]);

// tone says how a status is to be looked at.
export function tone(status) {
  if (good.has(status)) return "good";
  if (bad.has(status)) return "bad";
  if (status === "parked" || status === "held") return "wait";
  return "calm";
}

export function badge(status) {
  return el("span", { class: "badge " + tone(status) }, status);
}

const clock = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

export function when(text) {
  const at = new Date(text);
  return isNaN(at) ? String(text ?? "") : clock.format(at);
}

function money(amount, currency) {
  if (amount === undefined || amount === null || amount === "") return "";
  return currency ? amount + " " + currency : String(amount);
}

// signed shows a change of money; nothing when nothing changed.
function signed(amount, currency) {
  if (!amount || /^-?0(\.0*)?$/.test(amount)) return "";
  return (String(amount).startsWith("-") ? "" : "+") + money(amount, currency);
}

// activityRow is one event; open is called with its id.
export function activityRow(row, open) {
  const id = row.event;
  return el("tr", {},
    el("td", { class: "nowrap" }, el("button", { type: "button", class: "link", label: "Open event " + id, on: ["click", () => open(id)] }, when(row.received_at))),
    el("td", {}, row.source),
    el("td", {}, badge(row.status)),
    el("td", { class: "nowrap" }, row.caller),
    el("td", { class: "num" }, row.duration),
    el("td", { class: "num nowrap" }, money(row.payout, row.currency)),
    el("td", {}, row.call_id),
    el("td", { class: "num nowrap" }, signed(row.delta, row.currency)),
    el("td", { class: "reason" }, row.reason_text || row.reason));
}

// sourceRow is one source; copy is called with its URL.
export function sourceRow(source, copy) {
  const state = source.paused ? el("span", { class: "badge wait" }, "paused") : el("span", { class: "badge good" }, "live");
  const hidden = source.url.replace(/[^/]+$/, (token) => token.slice(0, 4) + "…");
  return el("tr", {},
    el("td", {}, el("strong", {}, source.id), el("div", { class: "muted" }, source.name === source.id ? source.preset : source.name)),
    el("td", {}, source.buyer || "any"),
    el("td", {}, state, source.secret ? el("span", { class: "badge calm" }, "secret") : ""),
    el("td", {}, el("code", {}, hidden), " ", el("button", { type: "button", class: "quiet", label: "Copy the postback URL of " + source.id, on: ["click", (e) => copy(source.url, e.currentTarget)] }, "Copy")));
}

const versionTones = { active: "good", admitted: "calm", retired: "calm", uploaded: "wait", refused: "bad" };

// mapperRows are the versions of a mapper that matter: those in use and the
// newest one. counts are its shadow counts.
export function mapperRows(mapper, counts) {
  const shown = mapper.versions.filter((v, i) => i === 0 || [mapper.active, mapper.previous, mapper.shadow].includes(v.version));
  return shown.map((v, i) => el("tr", {},
    el("td", {}, i > 0 ? "" : el("strong", {}, mapper.name), i > 0 ? "" : el("div", { class: "muted" }, mapper.tier)),
    el("td", {}, i > 0 ? "" : mapper.sources.join(", ") || "none"),
    el("td", {}, v.version),
    el("td", { class: "nowrap" }, el("span", { class: "badge " + (versionTones[v.state] || "calm") }, v.state),
      v.version === mapper.shadow ? el("span", { class: "badge wait" }, "shadow") : ""),
    el("td", { class: "num" }, v.fuel_limit > 0 ? v.fuel_limit.toLocaleString() : ""),
    el("td", { class: "reason" }, differences(counts.filter((c) => c.candidate === v.version)))));
}

// differences says in which fields a candidate differed, and how often.
function differences(counts) {
  if (counts.length === 0) return "";
  const list = counts.filter((c) => c.different > 0);
  if (list.length === 0) return "no difference";
  return list.map((c) => c.field + ": " + c.different.toLocaleString() + " of " + (c.same + c.different).toLocaleString() + (c.example ? " (" + c.example + ")" : "")).join("; ");
}

// bars draws how many events have each status, the most frequent first, with
// its reasons in the same order.
export function bars(statuses) {
  const groups = new Map();
  for (const s of statuses) {
    const group = groups.get(s.status) || { name: s.status, count: 0, reasons: [] };
    group.count += s.events;
    if (s.reason) group.reasons.push(s.reason.replaceAll("_", " ") + " " + s.events.toLocaleString());
    groups.set(s.status, group);
  }
  const list = [...groups.values()].sort((a, b) => b.count - a.count);
  const most = list.length > 0 ? list[0].count : 1;
  return list.map((g) => el("div", { class: "bar" }, badge(g.name),
    el("meter", { max: most, value: g.count, class: tone(g.name), label: g.name + ": " + g.count }),
    el("span", { class: "num" }, g.count.toLocaleString()),
    el("span", { class: "muted why" }, g.reasons.slice(0, 3).join(" · "))));
}

function figure(label, value) {
  return el("div", { class: "figure" }, el("div", { class: "value" }, value), el("div", { class: "muted" }, label));
}

function time(us) {
  return us < 1000 ? us + " µs" : us < 1e6 ? (us / 1000).toPrecision(3) + " ms" : (us / 1e6).toPrecision(3) + " s";
}

// figures are the summary's numbers.
export function figures(s) {
  const rate = s.events > 0 ? (100 * s.matched / s.events).toFixed(1) + " %" : "–";
  return [figure("events", s.events.toLocaleString()), figure("found their call", rate),
    ...s.money.flatMap((m) => [figure("booked", money(m.value, m.currency)), figure("publishers' share", money(m.share, m.currency))]),
    figure("to the verdict, half within", s.events > 0 ? time(s.latency_us.p50) : "–"),
    figure("99 of 100 within", s.events > 0 ? time(s.latency_us.p99) : "–")];
}

const parts = [["request", "Request"], ["report", "Report"], ["candidates", "Calls considered"], ["revisions", "Verdict, from first to last"], ["postings", "Postings"]];

// eventBody is the whole timeline of one event: its outcome in a sentence, then
// the stations on its way, then what else is known of it.
export function eventBody(event) {
  const rest = { ...event };
  for (const [name] of [...parts, ["reason_text"], ["status"]]) delete rest[name];
  const outcome = [badge(event.status), event.reason_text || (event.call_id ? "Matched call " + event.call_id + " by " + event.strategy.replaceAll("_", " ") + "." : "")];
  return [el("p", { class: "outcome" }, ...outcome),
    ...parts.map(([name, title]) => el("section", {}, el("h3", {}, title), isEmpty(event[name]) ? el("p", { class: "muted" }, "none") : tree(event[name]))),
    el("section", {}, el("h3", {}, "Event"), tree(rest))];
}

function isEmpty(value) {
  return value === null || value === undefined || value === "" || (typeof value === "object" && Object.keys(value).length === 0);
}

// tree shows any JSON value: objects as lists of names without what is absent,
// lists one under the other. Depth is bounded by the API's own shapes.
function tree(value) {
  if (Array.isArray(value)) return el("ol", { class: "tree" }, ...value.map((v) => el("li", {}, tree(v))));
  if (value !== null && typeof value === "object") {
    return el("dl", { class: "tree" }, ...Object.entries(value).flatMap(([name, v]) => isEmpty(v) ? [] : [el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, tree(v))]));
  }
  return el("span", { class: "leaf" }, value);
}
