FROM base:1
RUN echo 'web:x:33:33::/srv/web:/bin/sh' >> /etc/passwd && echo 'web:x:33:' >> /etc/group && mkdir -p /srv/web && chown web:web /srv/web
USER web
WORKDIR /srv/web
RUN touch mine && id > who && echo $HOME > home
USER 1000:50
RUN id > /tmp/who
