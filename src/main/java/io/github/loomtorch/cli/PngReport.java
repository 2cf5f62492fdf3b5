package io.github.loomtorch.cli;

import io.github.loomtorch.bench.ChartData;
import io.github.loomtorch.bench.Measurement;
import java.awt.Color;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.function.Function;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.BitmapEncoder.BitmapFormat;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.Styler;
import org.knowm.xchart.style.lines.SeriesLines;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** The results of a benchmark as a picture of four charts. */
final class PngReport {
    private static final int WIDTH = 800;
    private static final int HEIGHT = 500;
    // Okabe and Ito's: told apart by colour-blind readers.
    private static final Color[] COLORS = {
        new Color(0x0072B2), new Color(0xD55E00), new Color(0x009E73), new Color(0xCC79A7), new Color(0xE69F00)
    };

    private PngReport() {}

    static void write(Report report, Path file) throws IOException {
        System.setProperty("java.awt.headless", "true");
        List<Report.Column> columns = report.columns().stream()
                .filter(column -> !column.runs().isEmpty())
                .toList();
        List<XYChart> charts = List.of(
                throughput(columns),
                lines(
                        "TTFT distribution",
                        "TTFT, ms",
                        "requests not above, %",
                        columns,
                        runs -> ChartData.cumulative(ChartData.ttftMillis(runs))),
                lines(
                        "ITL distribution",
                        "ITL, ms",
                        "gaps not above, %",
                        columns,
                        runs -> ChartData.cumulative(ChartData.itlMillis(runs))),
                lines("Sequences in each step", "time, s", "sequences", columns, runs -> {
                    ChartData.Steps steps = ChartData.steps(runs.getFirst());
                    double[] sum = new double[steps.seconds().length];
                    Arrays.setAll(sum, i -> steps.prefilling()[i] + steps.decoding()[i]);
                    return new ChartData.Points(steps.seconds(), sum);
                }));
        String name = file.toString();
        BitmapEncoder.saveBitmap(charts, 2, 2, name.substring(0, name.length() - ".png".length()), BitmapFormat.PNG);
    }

    private static XYChart chart(String title, String xAxis, String yAxis) {
        XYChart chart = new XYChartBuilder()
                .width(WIDTH)
                .height(HEIGHT)
                .title(title)
                .xAxisTitle(xAxis)
                .yAxisTitle(yAxis)
                .build();
        chart.getStyler().setLegendPosition(Styler.LegendPosition.OutsideS);
        chart.getStyler().setSeriesColors(COLORS);
        chart.getStyler().setChartBackgroundColor(Color.WHITE);
        chart.getStyler().setDecimalPattern("#,##0.##");
        chart.getStyler().setYAxisMin(0.0);
        return chart;
    }

    private static XYChart throughput(List<Report.Column> columns) {
        XYChart chart = chart("Throughput against latency", "output throughput, tokens/s", "median E2EL, ms");
        chart.getStyler().setXAxisMin(0.0);
        for (Report.Column column : columns) {
            Double x = column.result().metrics().get("output_throughput");
            Double y = column.result().metrics().get("median_e2el_ms");
            if (x != null && y != null) {
                XYSeries series = chart.addSeries(column.result().name(), new double[] {x}, new double[] {y});
                series.setMarker(SeriesMarkers.CIRCLE);
                series.setLineStyle(SeriesLines.NONE);
            }
        }
        return chart;
    }

    private static XYChart lines(
            String title,
            String xAxis,
            String yAxis,
            List<Report.Column> columns,
            Function<List<Measurement>, ChartData.Points> points) {
        XYChart chart = chart(title, xAxis, yAxis);
        if (yAxis.endsWith("%")) {
            chart.getStyler().setYAxisMax(100.0);
        } else {
            chart.getStyler().setDefaultSeriesRenderStyle(XYSeries.XYSeriesRenderStyle.Step);
        }
        for (Report.Column column : columns) {
            ChartData.Points line = points.apply(column.runs());
            if (line.x().length > 0) { // XChart refuses an empty line
                chart.addSeries(column.result().name(), line.x(), line.y()).setMarker(SeriesMarkers.NONE);
            }
        }
        return chart;
    }
}
