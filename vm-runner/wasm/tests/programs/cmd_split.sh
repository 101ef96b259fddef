seq 1 10 > f; split -l 4 f; ls x*; cat xac; split -b 5 f p.; ls p.* | wc -l; cat p.* | cmp - f; split -n 2 f n; ls n*; split -d -l 5 f s; ls s*
