FROM base:1
RUN mkdir /m && cd /m && touch a b c && chmod 4755 a && chmod 2711 b && chmod 1777 c && mkdir -m 2775 d && mkdir -m 1777 e && chown 7:50 a d
COPY modes /m/copied
RUN umask && touch /m/after
