p=/usr/local/lib/libx.so.1
echo ${p##*/} ${p%/*} ${p%%.*} ${p/local/LOCAL}
echo ${u:-default} ${p:5:5} ${#p}
v=Hello; echo ${v,,} ${v^^}
