FROM base:1
RUN mkdir /real && ln -s /real /link && mkdir -p /usr/share && ln -s ../share /usr/doc
COPY run.sh /link/
COPY src /link
COPY run.sh /link/renamed
COPY docs /usr/doc/pages
COPY run.sh new/dir/
COPY run.sh file
