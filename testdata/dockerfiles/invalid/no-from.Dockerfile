RUN echo one
COPY a b
