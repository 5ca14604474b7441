FROM base:1
RUN dd if=/dev/zero of=/big bs=1M count=3 2>/dev/null && dd if=/dev/zero of=/sparse bs=1 count=1 seek=5000000 2>/dev/null
RUN i=0; while [ $i -lt 200 ]; do mkdir -p /many/$i; echo $i > /many/$i/file; i=$((i + 1)); done
RUN rm -rf /many/1* && mv /many/20 /many/moved
