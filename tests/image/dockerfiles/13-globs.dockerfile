FROM base:1
COPY src/*.c /c/
COPY src/ma?n.* src/[x-z]* /some/
COPY *.json run.sh /mixed/
COPY package.* /pack/
COPY package.json yarn.lock* package-lock.json* /lock/
