# A static binary in an empty image. No kernel headers, no compiler, no shell:
# the eBPF objects are part of the binary and fit themselves to the kernel.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath \
    -ldflags "-s -w -X github.com/prometheus/common/version.Version=${VERSION}" \
    -o promscope ./cmd/promscope
RUN ./promscope --version

FROM scratch
# For scrape targets and service discovery over TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/promscope /promscope
ENTRYPOINT ["/promscope"]
