FROM base:1 AS build
RUN echo static > /static && chmod 711 /static
FROM scratch
COPY --from=build /static /static
ENTRYPOINT ["/static"]
