printf abc > f; b2sum f; b2sum < f; b2sum f > s; b2sum -c s; b2sum -l 128 f
