package pipeline

import "github.com/promscope/promscope/bridge/discovery"

// claims are the endpoints that jobs name.
func (p *Pipeline) claims() []discovery.Claim { return p.discovery.Claims() }
