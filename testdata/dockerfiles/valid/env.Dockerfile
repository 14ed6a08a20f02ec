FROM busybox:1.36
ENV A=1 B="two words" C=a\ b D='$literal' E=
ENV LEGACY  a  b  
ENV ONE TWO= THREE=world
ENV X=${Y:-${Z:+z}} "quoted key"=v
