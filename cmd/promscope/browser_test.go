package main

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/promscope/promscope/bridge/web/browsertest"
)

// The status pages of a running promscope, with targets up and down, in a real
// browser: no complaints, the query box works, and explain explains.
func TestBrowser(t *testing.T) {
	t.Parallel()
	b := browsertest.Open(t)
	good := newExporter(t, "good{i=\"1\"} 1\ngood{i=\"2\"} 2\nunmapped 1\n")
	broken := newExporter(t, "metric{ 1\n")
	p := startPlugin(t, fmt.Sprintf(`
presets: [iowait]
global: {scrape_interval: 1s}
scrape_configs:
  - {job_name: good, static_configs: [{targets: ["%s"]}]}
  - {job_name: broken, static_configs: [{targets: ["%s"]}]}
  - {job_name: refusing, static_configs: [{targets: ["%s"]}]}
rules:
  - {metric: good, label: Good things, expr: sum(good), node: host}
  - {metric: many, label: Many to many, expr: good * on () good, node: host}
`, good.address(), broken.address(), freeAddress(t)))
	await(t, probe(t, p), "good")
	p.awaitReady(t)

	for page, texts := range map[string][]string{
		"/":                         {"promscope", hostName},
		"/targets":                  {"good", "broken", "refusing", "connection refused"},
		"/rules":                    {"Good things", "Many to many", "many-to-many"},
		"/nodes":                    {"Good things", "CPU iowait", hostName},
		"/collectors":               {"iowait", "http"},
		"/configuration":            {"job_name: refusing"},
		"/scope":                    {p.socket, hostName},
		"/explain?subject=unmapped": {"unmapped"},
	} {
		b.Run(t, chromedp.Navigate(p.web+page))
		for _, text := range texts {
			b.Wait(t, fmt.Sprintf("document.body.innerText.includes(%q)", text))
		}
	}

	b.Run(t, chromedp.Navigate(p.web+"/series"))
	b.Run(t, chromedp.SendKeys("#expr", "good * 10\r"))
	b.Wait(t, `location.search.startsWith("?expr=good") && document.querySelector("table.rows").innerText.includes("20")`)
	b.ExpectNoTrouble(t, p.web)
}
