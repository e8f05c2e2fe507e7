// Package webhook tells the control plane what happens to sandboxes, so that
// its clean-up jobs spare what is in use: they never see traffic, and go by what
// they were told last.
//
// The manager's events become a [Message] each. [Sender.Enqueue] takes it,
// [Sender.Run] delivers it as a POST in the form of Standard Webhooks
// (https://www.standardwebhooks.com): the headers webhook-id, webhook-timestamp
// and webhook-signature, and a JSON body of type, timestamp and data. A [Refresher]
// repeats once a day that a sandbox is in use. Messages wait in a [Queue].
//
// # Promises
//
// Blocking: Enqueue waits for nothing, neither for the receiver nor for the
// queue. A sandbox operation never fails or waits because of it.
//
// At least once: a message is repeated, with the same webhook-id and the same
// body, until the receiver answers 2xx. An answer that is lost means one more
// delivery; the id is the same for the same event from every replica, so the
// receiver can tell. A message is given up, counted and logged only when it is
// older than Config.MaxAge, or when the queue is full: then the oldest refresh
// goes first, else the oldest message. With a [Memory] queue messages end with
// the process.
//
// Order: the messages of one sandbox, by slug, are delivered in the order in
// which they were enqueued, and the next only after the one before. A receiver that
// acknowledges a message that it has seen and ignores an older generation is right in
// every case, also when a lease ran out and a message comes twice.
//
// Pace: a message that failed waits for Config.MinBackoff, doubled with each
// attempt up to Config.MaxBackoff, give or take half. Retry-After is honoured, up to
// an hour; with a 429 or 503 it holds back every message. At most Config.Parallel
// requests are under way.
//
// Answers: 2xx is success. A redirect is not followed, and is a failure as
// everything else is. 410 says that nobody wants to hear any more: nothing is sent
// until Config.URL returns another URL or the process starts again.
//
// End: when its context ends, Run goes on for a second at most with what is
// due, then returns. What was not delivered is back in the queue.
//
// Secrets: they are read for each attempt, so a rotated one is used at once.
// Neither they nor the URL beyond its host appear in logs, errors or metrics, nor
// does anything that the receiver answered.
//
// Concurrency: every method may be called at any time from any goroutine; Run
// of one Sender, or of one Refresher, once at a time.
package webhook
