printf abc > f; md5sum f; md5sum < f; md5sum f > s; md5sum -c s; echo x >> f; md5sum -c s 2>/dev/null; echo $?; md5sum --tag f
