FROM base:1
RUN mkdir -p /opt/tool/bin && echo '#!/bin/sh' > /opt/tool/bin/tool && chmod 755 /opt/tool/bin/tool
RUN echo second >> /opt/tool/notes && ln -s bin/tool /opt/tool/current
CMD ["/opt/tool/current"]
