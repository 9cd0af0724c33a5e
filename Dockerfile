# A static binary in an image that holds nothing else; runs as nobody.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X candela/cmd/app.Version=$VERSION" -o /candela ./cmd/candela \
 && mkdir /data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /candela /candela
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
VOLUME /data
ENV CANDELA_STORE=embedded:/data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/candela", "health"]
ENTRYPOINT ["/candela"]
CMD ["serve"]
