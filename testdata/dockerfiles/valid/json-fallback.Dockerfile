FROM busybox:1.36
RUN ['single', 'quotes']
RUN ["bad \escape"]
RUN ["trailing", ]
RUN [ -d /x ] && echo yes
CMD ["a"] b
