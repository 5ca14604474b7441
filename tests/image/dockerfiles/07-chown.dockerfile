FROM base:1
COPY --chown=app:staff src /one
COPY --chown=7 run.sh /two/run.sh
COPY --chown=12:34 run.sh package.json /three/
COPY run.sh /four
