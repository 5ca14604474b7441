FROM base:1
RUN mkdir -p /data/deep/er && touch /data/a /data/b /data/deep/c /data/deep/er/d
RUN rm /data/a && rm -rf /data/deep && mkdir /data/deep && touch /data/deep/new
RUN mv /data/b /data/moved && rm -rf /home/app && rm /bin/tar
