FROM base:1
WORKDIR /srv/app
COPY package.json package.lock ./
RUN cp package.lock installed && mkdir modules && touch modules/a modules/b
COPY src ./src
EXPOSE 8080 9000/udp
CMD sh run.sh
