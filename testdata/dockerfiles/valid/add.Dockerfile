FROM busybox:1.36
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://example.org/a.tar /a/
ADD --keep-git-dir=true --unpack https://example.org/r.git#v1 /src
ADD ["x y.tar.gz", "/z/"]
