# A static binary in an image without shell, package manager or root.
#
# Writes only below /var/lib/waltrigger (a volume), so it runs with a read-only root
# file system. Health: /livez and /readyz on port 9090, asked by the orchestrator; the
# image holds no program that a HEALTHCHECK could run.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd cmd
COPY config config
COPY pkg pkg
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags grpcnotrace -ldflags "-s -w -X main.version=${VERSION}" -o /out/waltrigger ./cmd/waltrigger \
 && mkdir -p /out/data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/waltrigger /usr/bin/waltrigger
COPY --from=build --chown=65532:65532 /out/data /var/lib/waltrigger
USER 65532:65532
WORKDIR /var/lib/waltrigger
EXPOSE 8080 9090
VOLUME ["/var/lib/waltrigger"]
ENTRYPOINT ["/usr/bin/waltrigger"]
CMD ["run"]
