FROM base:1 AS one
RUN mkdir -m 700 /d /d/e /d/f && touch /d/e/x && chown 7:8 /d /d/e /d/f
FROM base:1
RUN mkdir -p /app/src /app/modes/closed /app/tree/in /to/e /packing /packs/sub && chown -R 9:9 /app /to /packs \
    && chmod -R 1777 /app /to /packing /packs
COPY --chown=app:staff . /app
COPY modes /to
COPY modes/closed /new/closed
COPY --chown=7:8 modes/closed /new/owned
COPY --from=one /d /to
COPY --from=one /d /fresh/d
COPY --from=one --chown=3:4 /d /given/d
ADD plain.tar /packs/
ADD thin.tar /
ADD thin.tar /thin
