FROM base:1
RUN ["sh", "-c", "echo $0 exec > /exec"]
SHELL ["/bin/sh", "-e", "-c"]
RUN echo shell > /shell; \
    # a comment in the middle
    echo more >> /shell
CMD echo done
ENTRYPOINT exec top -b
