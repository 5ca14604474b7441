ARG BASE=base
FROM ${BASE}:1
ARG VERSION=1.2
ARG NAME
ENV VERSION=${VERSION} FULL="${NAME:-none}-$VERSION" QUOTED='$VERSION'
RUN echo "$VERSION $FULL $QUOTED $NAME" > /values
LABEL version=$VERSION "com.example.long name"="a value" multi="one \
two"
WORKDIR /opt/${VERSION}/bin
COPY run.sh ./$VERSION.sh
