package event

// Sentences for what Detail alone tells apart.
const (
	severalOfOneID = "Matched {call}; {others} more calls carry the same {field}. Give every call a {field} of its own to make it certain."
	sameContent    = "The same postback was received before, as {of}. This source has no identity and takes equal ones within its dedupe_window for one; set identity when equal ones can be meant."
	partTakenBack  = "The buyer took this part back; {value} stays booked."
	testOfNothing  = "A test: it would have been {would}, and nothing was booked."
)

// sentences holds, for each reason, what a person should read. Braces stand
// for parts of Detail.
var sentences = map[Reason]string{
	NoReason: "",

	NoKey:                    "Nothing in the postback names a call: it needs a ref_id, a call_id, a network call id, or caller with duration. Check the field names that the buyer sends against the source's fields.",
	NoSuchRef:                "No call has the {field} {got}, and the postback has no caller to fall back on.",
	NoCaller:                 "The postback has no caller and no id of a call that we know.",
	CallerUnreadable:         "The caller {got} is not a phone number in the source's default region; send it with a plus and country code, or change match.default_region.",
	NoCallFromCaller:         "No call from {got} is known within the window. Check that the calls are uploaded, and that the buyer reports the same number.",
	NoDuration:               "Call {call} has the same caller, but the postback has no duration to compare.",
	CallHasNoDuration:        "Call {call} has the same caller, but its own duration is not known yet; upload the call again when it has ended.",
	DurationOutsideTolerance: "The nearest call {call} has the same caller, but its duration misses the tolerance of {limit} by {missed}. Raise match.duration_tolerance if that is usual for this buyer.",
	StartOutsideWindow:       "The nearest call {call} has the same caller, but its start misses the window of {limit} by {missed}. Raise match.window if this buyer reports late.",
	OtherBuyer:               "Call {call} fits, but it was sold to buyer {got}, and this source prices another buyer's calls only.",
	SeveralCandidates:        "Matched {call}; {others} more fitted. Have the buyer echo ref_id to make it certain.",

	BodyMalformed:     "The postback could not be read ({field}): {got}.",
	BodyTooDeep:       "The JSON body is nested deeper than {limit} levels.",
	BodyTooManyKeys:   "The postback has more than {limit} fields.",
	BodyDuplicateKey:  "The postback names {got} twice with different values; senders and checkers could read different values, so it is refused.",
	BodyNotUTF8:       "The body is not valid UTF-8.",
	ContentTypeOdd:    "The content type {got} is not supported: send a query string, a form or JSON.",
	TooManyReports:    "The body holds more than {limit} reports; split it.",
	PayoutMissing:     "The postback names no payout. Check the buyer's field name against the source's fields; an empty field counts as absent.",
	PayoutUnreadable:  "The amount {field}={got} is not a plain decimal number such as 50 or 50.25, of at most 12 digits and 6 decimals. If the buyer sends cents, separators or signs, say so in the source's transforms.",
	PayoutNegative:    "The payout {field}={got} is negative, and this source does not take back by negative amounts; if the buyer means that, set transforms.negative_reverses.",
	DurationBad:       "The duration {field}={got} is not a whole number of seconds. If the buyer sends milliseconds or mm:ss, say so in the source's transforms.",
	TimeBad:           "The time {field}={got} is neither RFC 3339 nor Unix seconds or milliseconds between the years 2000 and 2100.",
	KindUnknown:       "The kind {field}={got} is not conversion, reversal or adjustment.",
	CurrencyBad:       "The currency {field}={got} is not a code of 3 to 12 letters or digits.",
	StatusUnknown:     "The source says what its words for {field} mean, but nothing of {got}. Name it in the source's statuses, or \"*\" for all others.",
	StatusIgnored:     "The source ignores postbacks with the status {got}.",
	IdentityMissing:   "The source identifies postbacks by {field}, and this one has none.",
	FieldMissing:      "The source's mapper says that the postback lacks something it needs: {got}.",
	Unsupported:       "The source's mapper does not read such postbacks: {got}.",
	MapperRefused:     "The source's mapper refused the postback: {got}.",
	MapperDropped:     "The source's mapper says that this postback is of no concern.",
	MapperTrapped:     "The mapper broke on this postback ({got}); its bytes are kept. Try it with \"tallyhook mapper vectors\" and \"tallyhook mapper test\".",
	MapperOutOfFuel:   "The mapper needed more than its {limit} units of fuel for this postback, so it was stopped; its bytes are kept. Make it cheaper, or push it again with a vector of that size.",
	MapperTooDeep:     "The mapper called itself too deep on this postback, so it was stopped; its bytes are kept.",
	MapperResultBad:   "What the mapper said of this postback cannot be read ({got}); its bytes are kept.",
	MapperInputLong:   "The postback does not fit the mapper's buffer of {limit} bytes; its bytes are kept. Give the mapper a larger buffer.",
	MapperUnavailable: "The source's mapper cannot be asked: {got}.",
	MapperPanicked:    "The mapper broke on this postback; its bytes are kept.",
	Crashed:           "The process ended twice while working on this record; it is kept unread.",
	ReportUnreadable:  "What was recorded of this postback while it waited cannot be read again; its bytes are kept.",
	SourceUnknown:     "The source of this postback is not known to this store.",

	SameEvent:          "The same postback was received before, as {of}.",
	OtherContent:       "The same id was received before, as {of}, with another amount, currency, status or account: nothing was booked. Ask the buyer which is right.",
	ToldFirst:          "Its repeat {of} reached another node and was booked before it. This one counts in its place, and so does what was told between the two.",
	SameValue:          "The call has this value already.",
	OlderThanBooked:    "A later postback, {of}, has set this call's value.",
	AmountOverCap:      "The amount is above the source's cap of {limit}, so nothing was booked. Release it with \"tallyhook held release\", or refuse it with \"held reject\".",
	CurrencyDiffers:    "The call is booked in {got} and the postback says {value}, so nothing was booked: no rate of exchange is guessed. Release it with a value in {got}, or refuse it.",
	SourcePaused:       "The source was paused when this came.",
	TestPostback:       "A test: it would have been {would} with value {value}, and nothing was booked.",
	ReversedOnArrival:  "Its reversal, {of}, came first; the value stays zero.",
	ReversalBeforehand: "Nothing to take back yet; the conversion it names will end at zero when it comes.",
	BuyerSaidZero:      "The buyer pays nothing for it: it is unqualified, and nobody has a share of it.",
	AccountMissing:     "The source settles on accounts and names them by {field}, which the postback does not have.",
	RewardMissing:      "The source credits accounts with {field}, which the postback does not have. Check the source's fields, or give reward.rate.",

	FirstCounts:          "The call has a value since {of}, and this source counts the first one only.",
	TransitionNotAllowed: "The sender said {value} before, and the source's transitions do not let {got} follow.",
	DailyCapReached:      "With this the source would book more than its daily_max of {limit} for the day, so nothing was booked. Release it with \"tallyhook held release\", or refuse it with \"held reject\".",
	MoneyUnsigned:        "The sender's signature does not cover {field}, so anybody on the way could have changed it, and nothing was booked. Restrict the source to the sender's addresses (allow_ips), or release it with \"tallyhook held release\".",
	BelowZero:            "The adjustment would leave {value}, and nothing may be worth less than zero. Release it with a value, or refuse it.",
	NoSuchTransaction:    "It names the transaction {got}, which this source has not told.",
	NotTriggered:         "The request names no value and does not hold the conversion trigger of its call's campaign: nothing changes, and the call waits on.",
	CallKeyWrong:         "The request does not show the key of call {call}: nothing was booked.",
	ConvertedLate:        "The time for a value of call {call} had ended at {got}; it is converted all the same.",
	Released:             "Released by {got}.",
	RefusedByPerson:      "Refused by {got}.",

	TakenBack: "The buyer took it back: nothing of it stays booked.",
}
