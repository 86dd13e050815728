// Package ruletest runs unit tests of mapping rules, in the manner of promtool's:
// given series over time, or expositions, these are the metrics of the nodes.
//
//	rule_files: [rules.yml]      # beside the test file; rules: and presets: work too
//	interval: 5s                 # at which the series are scraped; the default
//
//	tests:
//	  - name: a counter on its process
//	    input_series:            # one sample an interval, from 0s on
//	      - series: http_requests_total{pid="17"}
//	        values: 0+50x12
//	    expect:
//	      - at: 1m
//	        process:
//	          17: {http_requests: 10}
//
//	  - name: from an endpoint
//	    expositions:             # the target's text at these times
//	      - at: 0s
//	        labels: {job: node, instance: "localhost:9100"}
//	        text: |
//	          node_load1 0.5
//	    expect:
//	      - at: 0s
//	        host: {load: 0.5}
//
// Expectations are complete: a metric that the rules give and the test does not
// mention is a failure, and so is a rule that cannot be evaluated then. A value with
// decimals is compared to as many; one without has to be exact but for rounding
// errors. All nodes live.
package ruletest
