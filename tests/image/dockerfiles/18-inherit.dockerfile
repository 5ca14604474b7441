FROM base:1 AS parent
ENV LEVEL=parent
WORKDIR /parent
CMD ["parent"]
LABEL from=parent
FROM parent AS child
ENV LEVEL=child-$LEVEL
RUN echo $LEVEL > level
ENTRYPOINT ["child"]
FROM parent
COPY --from=child /parent/level ./level
COPY --from=parent /etc/passwd ./passwd
RUN cat level
