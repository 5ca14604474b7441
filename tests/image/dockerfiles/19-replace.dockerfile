FROM base:1
RUN mkdir -p /x/dir && touch /x/file /x/dir/in && ln -s file /x/soft
RUN rm -rf /x/dir && touch /x/dir && rm /x/file && mkdir /x/file && touch /x/file/in
RUN rm /x/soft && mkdir /x/soft && chmod 700 /etc
COPY run.sh /x/dir
COPY src /x/file
