# agentkernel in a container, from which it makes sandboxes by the engine whose socket it is given:
# docs/guide/docker.md#agentkernel-itself-in-a-container. There is nothing in it but one static program.
FROM scratch
# Whichever was built.
ARG BINARY=target/*-unknown-linux-gnu/release/agentkernel
COPY ${BINARY} /agentkernel
# A volume keeps what it knows of sandboxes. It need not be known to the engine.
ENV AGENTKERNEL_STATE_DIR=/state HOME=/home
ENTRYPOINT ["/agentkernel"]
CMD ["help"]
