FROM base:1
RUN mkdir /links && cd /links && echo one > a && ln a b && ln -s a soft && ln -s /nowhere broken && mkfifo pipe
RUN cd /links && ln a c && echo more >> b
COPY tree /links/tree
COPY --from=base:1 /bin/busybox /links/box
