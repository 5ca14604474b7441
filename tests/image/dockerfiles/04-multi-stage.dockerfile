FROM base:1 AS build
WORKDIR /made
COPY src src
RUN cat src/*.c > out.bin && chmod 755 out.bin && chown 7:8 out.bin
FROM base:1
COPY --from=build /made/out.bin /usr/local/bin/out
USER app
CMD ["out"]
