FROM base:1 AS build
WORKDIR /work
COPY src src
RUN cat src/*.c > out.bin && chmod 755 out.bin && chown 7:8 out.bin
FROM base:1
COPY --from=build /work/out.bin /usr/local/bin/out
USER app
CMD ["out"]
