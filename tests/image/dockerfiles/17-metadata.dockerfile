FROM base:1
MAINTAINER Somebody <somebody@example.org>
LABEL one=1
ENV A=1 B=2
ENV A 3 with spaces
EXPOSE 80 443/tcp 5000-5002
VOLUME /data /more
VOLUME ["/logs"]
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s --timeout=3s --retries=4 CMD wget -q localhost || exit 1
USER app
WORKDIR /a
WORKDIR b
WORKDIR ../c
CMD ["x"]
