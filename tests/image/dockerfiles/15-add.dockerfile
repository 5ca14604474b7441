FROM base:1
ADD plain.tar /plain/
ADD packed.tar.gz /packed
ADD run.sh src/main.c /files/
ADD notes.gz /notes/
# What is there, so that nobody has to make it.
RUN mkdir /owned
ADD --chown=3:4 packed.tar.gz /owned/
ADD --chown=3:4 run.sh /owned/
