// The console's page: asks for a key, then reads everything through the admin
// API of its own node. The key lives in sessionStorage and goes out in the
// Authorization header only.
import { activityRow, bars, el, eventBody, figures, fill, mapperRows, sourceRow } from "./view.js";

const $ = (id) => document.getElementById(id);
const slot = "tallyhook.key";
const pageRows = 50;
const rowsMax = 500;
const mappersMax = 50; // shown; each is read by itself
const every = 2000; // milliseconds between two looks at the activity
const summaryEvery = 15000; // the same at the summary, which reads all of its time
const statuses = ["booked", "unchanged", "unqualified", "reversed", "duplicate", "conflict", "parked", "unmatched", "invalid", "stale", "held", "ignored", "rejected", "failed"];

let rows = []; // shown, the newest first
let next = ""; // cursor of older ones
let turn = 0; // rises with every change of filter or key: late answers of another turn are dropped
let timer = 0;
let summed = 0; // when the summary was last read
let mapped = 0; // when the mappers were

class Fault extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// api gives the JSON of a path under /api/v1/.
async function api(path, params = {}) {
  const query = new URLSearchParams(Object.entries(params).filter(([, v]) => v !== ""));
  const url = "/api/v1/" + path + (query.size ? "?" + query : "");
  const response = await fetch(url, { headers: { Authorization: "Bearer " + sessionStorage.getItem(slot) }, cache: "no-store", redirect: "error" });
  const body = await response.json();
  if (!response.ok) throw new Fault(response.status, body.message || response.statusText);
  return body;
}

function filter() {
  return { source: $("f-source").value, status: $("f-status").value, call_id: $("f-call").value.trim(), caller: $("f-caller").value.trim() };
}

function say(text) {
  $("fault").textContent = text;
}

// told shows what went wrong; a refused key goes back to the gate.
function told(fault) {
  if (fault.status === 401 || fault.status === 403) return leave(fault.message);
  say(fault.status ? fault.message : "The node does not answer; this page tries again. " + fault.message);
}

function showRows() {
  fill($("activity"), ...rows.map((row) => activityRow(row, open)));
  $("none").hidden = rows.length > 0;
  $("more").hidden = next === "";
}

// load reads the first page, or with older the one after what is shown.
async function load(older = false) {
  const mine = turn;
  const page = await api("activity", { ...filter(), limit: older ? pageRows : Math.min(rowsMax, Math.max(pageRows, rows.length)), after: older ? next : "" });
  if (mine !== turn) return;
  rows = older ? rows.concat(page.rows).slice(-rowsMax) : page.rows;
  next = page.next;
  showRows();
}

async function loadSources() {
  const page = await api("sources", { limit: 1000 });
  fill($("sources"), ...page.rows.map((s) => sourceRow(s, copy)));
  const chosen = $("f-source").value;
  fill($("f-source"), el("option", { value: "" }, "all"), ...page.rows.map((s) => el("option", { value: s.id }, s.id)));
  $("f-source").value = page.rows.some((s) => s.id === chosen) ? chosen : "";
}

async function loadMappers() {
  if (Date.now() - mapped < summaryEvery) return; // a filter that changes changes nothing here
  const mine = turn;
  const page = await api("mappers", { limit: mappersMax });
  const rows = await Promise.all(page.rows.map(async (m) => {
    const path = "mappers/" + encodeURIComponent(m.name);
    const [mapper, shadow] = await Promise.all([api(path), api(path + "/shadow")]);
    return mapperRows(mapper, shadow.rows);
  }));
  if (mine !== turn) return;
  mapped = Date.now();
  fill($("mappers"), ...rows.flat());
  $("mappers-card").hidden = rows.length === 0;
}

async function loadSummary(now) {
  if (!now && Date.now() - summed < summaryEvery) return;
  const mine = turn;
  const s = await api("summary", { since: $("since").value });
  if (mine !== turn) return;
  summed = Date.now();
  fill($("figures"), ...figures(s));
  fill($("bars"), ...bars(s.statuses));
}

async function loadNode() {
  let text = "";
  let tone = "good";
  try {
    const s = await api("status");
    text = s.node + " · " + s.version + (s.pipeline.lag_records > 0 ? " · " + s.pipeline.lag_records.toLocaleString() + " behind" : "");
    if (s.failed || s.journal.failed || s.journal.full) [text, tone] = [s.failed || (s.journal.full ? "journal full" : "journal failed"), "bad"];
  } catch (fault) {
    if (fault.status === 401 || fault.status === 403) throw fault;
    [text, tone] = [fault.status ? "no node" : "no answer", "wait"];
  }
  $("node").textContent = text;
  $("node").className = "pill " + tone;
}

async function copy(url, button) {
  try {
    await navigator.clipboard.writeText(url);
    button.textContent = "Copied";
  } catch {
    window.prompt("Postback URL", url); // clipboards need https or localhost
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

async function open(id) {
  try {
    const event = await api("events/" + encodeURIComponent(id));
    $("event-title").textContent = "Event " + id;
    fill($("event-body"), ...eventBody(event));
    $("event").showModal();
  } catch (fault) {
    told(fault);
  }
}

// look reads everything again and plans the next time; what is not seen is
// not read.
async function look(all) {
  clearTimeout(timer);
  const mine = turn;
  try {
    if (!document.hidden && (all || $("live").checked)) {
      await Promise.all([load(), loadNode(), loadSummary(all), ...(all ? [loadSources(), loadMappers()] : [])]);
      if (mine === turn) say("");
    }
  } catch (fault) {
    if (mine === turn) told(fault);
  }
  if (mine === turn && sessionStorage.getItem(slot)) timer = setTimeout(look, every);
}

function enter() {
  turn++;
  $("gate").hidden = true;
  $("board").hidden = false;
  $("leave").hidden = false;
  look(true);
}

function leave(why = "") {
  turn++;
  clearTimeout(timer);
  sessionStorage.removeItem(slot);
  rows = [];
  next = "";
  mapped = 0;
  for (const id of ["activity", "sources", "mappers", "bars", "figures", "event-body"]) fill($(id));
  $("event").close();
  $("board").hidden = true;
  $("leave").hidden = true;
  $("gate").hidden = false;
  $("gate-fault").textContent = why;
  $("node").textContent = "not connected";
  $("node").className = "pill";
  $("key").focus();
}

$("gate").addEventListener("submit", (e) => {
  e.preventDefault();
  sessionStorage.setItem(slot, $("key").value.trim());
  $("key").value = "";
  $("gate-fault").textContent = "";
  enter();
});
$("leave").addEventListener("click", () => leave());
let typing = 0;
for (const kind of ["input", "submit"]) {
  $("filter").addEventListener(kind, (e) => {
    if (kind === "submit") e.preventDefault();
    clearTimeout(typing);
    typing = setTimeout(() => {
      turn++;
      rows = [];
      look(true);
    }, 250);
  });
}
$("since").addEventListener("change", () => loadSummary(true).catch(told));
$("more").addEventListener("click", () => {
  $("live").checked = false; // a list that grows at its end must not jump
  load(true).catch(told);
});
$("event-close").addEventListener("click", () => $("event").close());
document.addEventListener("visibilitychange", () => { if (!document.hidden && !$("board").hidden) look(true); });
fill($("f-status"), el("option", { value: "" }, "all"), ...statuses.map((s) => el("option", { value: s }, s)));
if (sessionStorage.getItem(slot)) enter();
else $("key").focus();
