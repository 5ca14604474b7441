FROM base:1
COPY . /all
COPY docs/ /docs/
