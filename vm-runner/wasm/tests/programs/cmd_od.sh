printf 'AB\n\000\377' > f; od f; od -c f; od -An -tx1 f; od -An -td1 f; od -j1 -N2 -An -tu1 f; od -A x -t x2 f
