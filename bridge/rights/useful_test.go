package rights

import (
	"slices"
	"strings"
	"testing"

	libcap "kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/promscope/promscope/bridge/config"
)

// What each configuration has a use for, as docs/rights.md says it.
func TestUseful(t *testing.T) {
	const (
		always = "CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_SYS_ADMIN"
		ebpf   = "CAP_BPF CAP_PERFMON"
		off    = "collectors: {http: {enabled: false}, wait: {enabled: false}, disk: {enabled: false}, tcp: {enabled: false}, exits: {enabled: false}}\n"
		jobs   = off + "scrape_configs:\n  - job_name: x\n    "
	)
	for _, tt := range []struct{ name, config, lacks, want string }{
		{name: "defaults", want: always + " CAP_DAC_OVERRIDE " + ebpf},
		{name: "no job", config: "scrape_configs: []", want: always + " " + ebpf},
		{name: "no collector of eBPF", config: off, want: always + " CAP_DAC_OVERRIDE"},
		{name: "one collector of eBPF", config: strings.Replace(off, "exits: {enabled: false}", "exits: {enabled: true}", 1) + "scrape_configs: []", want: always + " " + ebpf},
		{name: "static targets", config: jobs + `static_configs: [{targets: ["localhost:1"]}]`, want: always},
		{name: "a static target on a unix socket", config: jobs + `static_configs: [{targets: [""], labels: {__unix_socket__: /x}}]`, want: always + " CAP_DAC_OVERRIDE"},
		{name: "relabelling", config: jobs + `static_configs: [{targets: ["localhost:1"]}]
    relabel_configs: [{target_label: __unix_socket__, replacement: /x}]`, want: always + " CAP_DAC_OVERRIDE"},
		{name: "files", config: jobs + `file_sd_configs: [{files: [x.json]}]`, want: always + " CAP_DAC_OVERRIDE"},
		{name: "HTTP", config: jobs + `http_sd_configs: [{url: "http://localhost:1/"}]`, want: always + " CAP_DAC_OVERRIDE"},
		{name: "listeners", config: jobs + `listener_sd_configs: [{}]`, want: always + " CAP_DAC_OVERRIDE"},
		{name: "listeners with credentials", config: jobs + `listener_sd_configs: [{ports: [1]}]
    basic_auth: {username: x, password: y}`, want: always},
		{name: "owners with credentials", config: jobs + `listener_sd_configs: [{comm: {include: [x]}}]
    basic_auth: {username: x, password: y}`, want: always + " CAP_DAC_OVERRIDE"},
		{name: "no CAP_DAC_READ_SEARCH", config: off + "scrape_configs: []", lacks: "CAP_DAC_READ_SEARCH", want: always + " CAP_DAC_OVERRIDE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, list := config.Parse("promscope.yml", []byte(tt.config))
			if err := list.Err(); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, value := range Useful(cfg, func(value libcap.Value) bool { return Name(value) != tt.lacks }) {
				got = append(got, Name(value))
			}
			if !slices.Equal(got, strings.Fields(tt.want)) {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
}
