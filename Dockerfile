# One image for every role: the manifest says what a container runs (docs/kubernetes.md).
#   docker build -t odto:0.1.0 .          podman build --format docker -t odto:0.1.0 .
FROM debian:bookworm-slim AS build
WORKDIR /src
COPY . .
RUN tools/deb --yes /out

FROM debian:bookworm-slim
COPY --from=build /out/odto_*.deb /tmp/
# The drivers' libraries are only recommended by the package; an image has them all.
RUN apt-get update && \
    apt-get install -y --no-install-recommends ncurses-base /tmp/odto_*.deb \
        $(dpkg-deb -f /tmp/odto_*.deb Recommends | sed 's/([^)]*)//g; s/,/ /g') && \
    rm -rf /var/lib/apt/lists/* /tmp/odto_*.deb && \
    useradd --system --uid 10001 --no-create-home --home-dir /var/lib/odto --shell /usr/sbin/nologin odto && \
    install -d -o odto -g odto /var/lib/odto
ENV ODTO_DATA_DIR=/var/lib/odto ODTO_LOG_FORMAT=json TERM=xterm-256color
VOLUME /var/lib/odto
USER 10001:10001
ENTRYPOINT ["odto-host"]
CMD ["-c", "/etc/odto/odto.ini"]
