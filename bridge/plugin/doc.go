// Package plugin is promscope's face towards Weave Scope: a unix socket that
// Scope's probe finds, and on it GET /report, which the probe polls once a second.
//
//   - [Listen] puts the socket where probes look for plugins, and removes it again.
//   - A [Report] takes in the results of rules. For each metric of each node it
//     keeps a window of the last samples, and the JSON of each sample, which is
//     encoded once. Publish swaps a pointer to what an answer is made of.
//   - A [Server] answers polls and remembers who polls.
//
// # A poll is short
//
// The probe polls its plugins one after another, holds a lock meanwhile, and allows
// 500 ms for each. A poll therefore waits for no scrape, no rule and no publication:
// it copies bytes that are ready. Two locks are held for the moment that it takes to
// find the poller in a list. The first poll of a new probe waits for a hook
// ([ServerOptions]), for at most 150 ms. Answers are not compressed, since the probe
// would have to unpack them while it holds its lock.
//
// # What is in an answer
//
// A client that gives no probe_id gets the window of every metric. A probe gets less: all
// windows at once were two thirds of an answer, which it reads with its lock held. Scope's
// app merges the reports that arrived in the last 15 s, and of each metric the samples, by
// exactly equal timestamp. (It drops reports in groups of 3 s, so that the oldest is 12 to
// 15 s old.) So it needs a sample once in that time, and a probe that fails to read an
// answer needs it once more:
//
//   - Every answer has the newest sample of each metric, which is the value that Scope
//     shows, and those less than 2.5 s older. At one sample a second, each sample is
//     in three answers in a row. At one in three seconds or less often, the newest
//     one is in three answers or more.
//   - A metric whose window is longer than 15 s has its window in every seventh
//     answer too: else a metric that is scraped each 5 s would have three samples in
//     Scope instead of twelve. Seven is the most with which one answer may be lost
//     and the next window still arrives within 15 s. Metrics take turns, so that all
//     answers are about equally large.
//   - A poller that is new, or was silent for three seconds, gets the shorter windows in
//     turns too, in its first fourteen answers: each of them twice. So all sparklines are
//     full after seven seconds. What is shown as the value is in the first answer.
//
// What the app holds is thus never less than the window. When every answer had every
// window, it held up to 15 s more. Scope's own metrics reach back 15 s, and the
// browser collects up to 60 samples while a details panel is open.
//
// Templates are in every answer: Scope takes them for constant and looks at them only
// every nine seconds.
package plugin
