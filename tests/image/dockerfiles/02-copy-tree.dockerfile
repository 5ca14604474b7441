FROM base:1
WORKDIR /app
COPY . .
ENTRYPOINT ["sh", "run.sh"]
CMD ["--help"]
