# The gradient noise scale of a run and its band: gnuplot noise_scale.gp, in this folder.
# noise_scale.csv is from the probe events of the run in probes.md.
set terminal svg size 640,400 font "sans,13" background "white"
set output "noise_scale.svg"
set datafile separator ","
set datafile missing "null"
set xlabel "epochs"
set ylabel "noise scale, samples"
set logscale y
set xrange [0:8]
set yrange [20:2000]
set grid
set key bottom right
plot "noise_scale.csv" using 2:4:5 skip 1 with filledcurves fc "#cfe0f3" title "95 % band", \
     "" using 2:3 skip 1 with lines lw 2 lc "#1f5a9e" title "tr(C) / |G|^2, smoothed", \
     256 with lines dt 3 lc "black" title "batch"
