FROM base:1
ADD plain.tar /plain/
ADD packed.tar.gz /packed
ADD run.sh src/main.c /files/
ADD notes.gz /notes/
