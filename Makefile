# The default target builds promscope and runs it in the foreground, as the
# makefiles of Scope's own plugins do. Scope's probe finds it by its socket.
.PHONY: run build test soak kernels lint generate docs fuzz clean

GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w \
	-X github.com/prometheus/common/version.Version=$(VERSION) \
	-X github.com/prometheus/common/version.Revision=$(shell git rev-parse HEAD 2>/dev/null) \
	-X github.com/prometheus/common/version.Branch=$(shell git rev-parse --abbrev-ref HEAD 2>/dev/null)

run: build
	./promscope run $(ARGS)

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o promscope ./cmd/promscope

test:
	$(GO) test ./...

# promscope under load for DURATION: docs/performance.md.
DURATION ?= 3m
soak:
	$(GO) test ./cmd/promscope -run '^TestSoak$$' -v -count 1 -timeout 0 -soak $(DURATION)

# The collectors on Debian's kernels, in virtual machines: docs/kernels.md. A guest whose tests failed is booted again, alone,
# up to twice: an emulated CPU can be too late.
KERNELS_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/promscope-kernels
kernels:
	$(GO) run gotest.tools/gotestsum@v1.13.0 --format standard-verbose --rerun-fails=2 --packages ./ebpf/kernels -- \
		-run TestMatrix -count 1 -timeout 30m -args -cache=$(KERNELS_CACHE) $(ARGS)

lint:
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run

# The eBPF objects, from their C source; needs clang-19 and llvm-19.
generate:
	$(GO) generate ./ebpf/...

# The generated parts of docs/.
docs:
	$(GO) test ./bridge ./cmd/promscope -run TestDocs -update

# Each fuzz target for FUZZTIME: .ci/fuzz.
FUZZTIME ?= 30s
fuzz:
	.ci/fuzz $(FUZZTIME)

clean:
	rm -f promscope
