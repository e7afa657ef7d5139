//! Plots as SVG files, from a description in JSON.

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use plotters::prelude::*;
use serde::Deserialize;
use std::path::PathBuf;

/// Draws a plot described by JSON on standard input
#[derive(Debug, Clone, Args)]
pub struct PlotArgs {
    /// The SVG file to write
    output: PathBuf,
}

/// What to draw.
#[derive(Debug, Clone, Deserialize)]
pub struct Plot {
    /// Above it.
    pub title: String,
    /// Under the horizontal axis.
    #[serde(default)]
    pub x_label: String,
    /// Beside the vertical axis.
    #[serde(default)]
    pub y_label: String,
    /// Whether the vertical axis is logarithmic.
    #[serde(default)]
    pub log_y: bool,
    /// Whether x is a quantile, drawn by its number of nines.
    #[serde(default)]
    pub quantiles: bool,
    /// Lines, each with its points.
    #[serde(default)]
    pub lines: Vec<Line>,
    /// Groups of bars; if there are any, lines are not drawn.
    #[serde(default)]
    pub bars: Vec<Bars>,
}

/// A line.
#[derive(Debug, Clone, Deserialize)]
pub struct Line {
    /// In the legend.
    pub name: String,
    /// x and y.
    pub points: Vec<(f64, f64)>,
}

/// Bars side by side.
#[derive(Debug, Clone, Deserialize)]
pub struct Bars {
    /// Under them.
    pub label: String,
    /// Names and heights; the same names in each group.
    pub values: Vec<(String, f64)>,
}

/// Told apart by people who see few colours too.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
];
const SIZE: (u32, u32) = (960, 480);

/// Reads the description and writes the file.
///
/// # Errors
/// A description that is none, or a file that cannot be written.
pub fn run(args: &PlotArgs) -> anyhow::Result<()> {
    let text = std::io::read_to_string(std::io::stdin())?;
    let plot: Plot = serde_json::from_str(&text).context("no description of a plot")?;
    let svg = draw(&plot)?;
    std::fs::write(&args.output, svg).with_context(|| format!("cannot write {}", args.output.display()))
}

/// The plot as SVG.
///
/// # Errors
/// Nothing to draw.
pub fn draw(plot: &Plot) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        if plot.bars.is_empty() {
            draw_lines(plot, &area)?
        } else {
            draw_bars(plot, &area)?
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("the plot could not be drawn: {error}")
}

fn draw_bars(plot: &Plot, area: &Area<'_>) -> anyhow::Result<()> {
    let highest = plot.bars.iter().flat_map(|bars| &bars.values).map(|(_, value)| *value).fold(0.0, f64::max);
    ensure!(highest > 0.0, "nothing to draw");
    let names: Vec<String> = plot.bars[0].values.iter().map(|(name, _)| name.clone()).collect();
    let mut chart = ChartBuilder::on(area)
        .caption(&plot.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..plot.bars.len() as f64, 0.0..highest * 1.15)
        .map_err(failed)?;
    let label = |x: &f64| {
        let centre = (x.fract() - 0.5).abs() < 0.01;
        plot.bars.get(*x as usize).filter(|_| centre).map_or_else(String::new, |bars| bars.label.clone())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(plot.bars.len() * 2 + 1)
        .x_label_formatter(&label)
        .x_desc(&plot.x_label)
        .y_desc(&plot.y_label)
        .draw()
        .map_err(failed)?;
    let width = 0.8 / names.len().max(1) as f64;
    for (place, name) in names.iter().enumerate() {
        let colour = COLOURS[place % COLOURS.len()];
        let bars = plot.bars.iter().enumerate().filter_map(|(group, bars)| {
            let (_, value) = bars.values.iter().find(|(other, _)| other == name)?;
            let left = group as f64 + 0.1 + place as f64 * width;
            Some(Rectangle::new([(left, 0.0), (left + width * 0.95, *value)], colour.filled()))
        });
        let series = chart.draw_series(bars).map_err(failed)?;
        series.label(name).legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
    }
    legend(&mut chart)
}

fn draw_lines(plot: &Plot, area: &Area<'_>) -> anyhow::Result<()> {
    let nines = |quantile: f64| -(1.0 - quantile).max(1e-9).log10();
    let place = |(x, y): (f64, f64)| (if plot.quantiles { nines(x) } else { x }, y);
    let points: Vec<(f64, f64)> = plot.lines.iter().flat_map(|line| &line.points).copied().map(place).collect();
    let highest = points.iter().map(|(_, y)| *y).fold(0.0, f64::max);
    ensure!(highest > 0.0, "nothing to draw");
    let right = points.iter().map(|(x, _)| *x).fold(0.0, f64::max);
    let left = if plot.quantiles { 0.0 } else { points.iter().map(|(x, _)| *x).fold(right, f64::min) };
    // The last tick is inside.
    let right = if right > left { right + (right - left) * 0.01 } else { left + 1.0 };
    let x_label = |x: &f64| match plot.quantiles {
        true if (x - x.round()).abs() > 0.01 => String::new(),
        true => format!("{}%", percent(x.round())),
        false => format!("{x}"),
    };
    let mut builder = ChartBuilder::on(area);
    builder.caption(&plot.title, ("sans-serif", 20)).margin(12).x_label_area_size(40).y_label_area_size(70);
    macro_rules! finish {
        ($y:expr) => {{
            let mut chart = builder.build_cartesian_2d(left..right, $y).map_err(failed)?;
            let mesh = &mut chart.configure_mesh();
            mesh.x_label_formatter(&x_label).x_desc(&plot.x_label).y_desc(&plot.y_label).draw().map_err(failed)?;
            for (line, colour) in plot.lines.iter().zip(COLOURS.into_iter().cycle()) {
                let points = line.points.iter().copied().map(place);
                let series = chart.draw_series(LineSeries::new(points, colour.stroke_width(2))).map_err(failed)?;
                series.label(&line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 12, y)], colour.stroke_width(2)));
            }
            legend(&mut chart)
        }};
    }
    if plot.log_y {
        let lowest = points.iter().map(|(_, y)| *y).filter(|y| *y > 0.0).fold(highest, f64::min);
        finish!((lowest * 0.8..highest * 1.2).log_scale())
    } else {
        finish!(0.0..highest * 1.1)
    }
}

fn percent(nines: f64) -> String {
    let text = format!("{:.4}", 100.0 * (1.0 - 10_f64.powf(-nines)));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn legend<'a, Y: Ranged<ValueType = f64>>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<plotters::coord::types::RangedCoordf64, Y>>,
) -> anyhow::Result<()> {
    let labels = &mut chart.configure_series_labels();
    labels.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8)).border_style(BLACK).draw().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_bars_are_drawn_with_their_names() {
        let line = |name: &str, last| Line { name: name.into(), points: vec![(0.5, 1.0), (0.9, 2.0), (0.999, last)] };
        let mut plot = Plot {
            title: "Latency".into(),
            x_label: "records".into(),
            y_label: "ms".into(),
            log_y: true,
            quantiles: true,
            lines: vec![line("one", 30.0), line("other", 10.0)],
            bars: Vec::new(),
        };
        let svg = draw(&plot).unwrap();
        assert!(["<svg", "Latency", "one", "other", "99.9%"].iter().all(|text| svg.contains(text)), "{svg}");
        plot.bars = vec![Bars { label: "1 KiB".into(), values: vec![("Strandline".into(), 4.0), ("Kafka".into(), 1.0)] }];
        let svg = draw(&plot).unwrap();
        assert!(["1 KiB", "Strandline", "Kafka"].iter().all(|text| svg.contains(text)), "{svg}");
        plot.bars[0].values.clear();
        assert!(draw(&plot).is_err());
    }
}
