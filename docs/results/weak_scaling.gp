# Efficiency of a simulated step by members: gnuplot weak_scaling.gp, in this folder.
# weak_scaling.txt is what `lockstep bench simulate` prints; simgrid.txt: `make simgrid`, scaling.md.
set terminal svg size 640,400 font "sans,13" background "white"
set output "weak_scaling.svg"
set logscale x 2
set xrange [1:4096]
set yrange [80:100]
set xlabel "members"
set ylabel "efficiency, %"
set grid
set key at graph 0.97, 0.75
plot "weak_scaling.txt" using 1:3 skip 1 with linespoints lw 2 title "overlapped, simulated", \
     "" using 1:(10000/$6) skip 1 with lines dt 2 lw 2 title "overlapped, formula", \
     "" using 1:5 skip 1 with linespoints lw 2 title "not overlapped, simulated", \
     "simgrid.txt" using 1:3 skip 1 with points pt 7 title "overlapped, SimGrid, fat tree", \
     90 with lines dt 3 title "wanted"
