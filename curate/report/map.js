(function () {
  "use strict";
  var data = JSON.parse(document.getElementById("points").textContent);
  var plot = document.getElementById("plot"), choice = document.getElementById("colour");
  var names = Object.keys(data.colours);
  var palette = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#e07b39", "#7a5195", "#2f9e8f", "#8c6d31", "#d45087", "#5b8c5a"];
  names.forEach(function (name) {
    var option = document.createElement("option");
    option.value = name;
    option.textContent = name;
    choice.appendChild(option);
  });
  choice.parentNode.hidden = names.length < 2;
  function escaped(text) {
    return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }
  function traces(name) {
    var values = data.colours[name] || [], groups = new Map();
    data.x.forEach(function (_, i) {
      var key = values.length ? values[i] : "";
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(i);
    });
    var keys = Array.from(groups.keys()).sort(function (a, b) { return groups.get(b).length - groups.get(a).length; });
    return keys.map(function (key, k) {
      var rows = groups.get(key), quiet = key === data.quiet;
      var trace = {
        type: data.kind, mode: "markers", name: escaped(key || "rows").slice(0, 60),
        x: rows.map(function (i) { return data.x[i]; }), y: rows.map(function (i) { return data.y[i]; }),
        text: rows.map(function (i) { return escaped(data.ids[i]); }), hovertemplate: "%{text}<extra>%{fullData.name}</extra>",
        marker: { size: data.x.length > 5000 || data.z.length ? 3 : 6, opacity: quiet ? 0.35 : 0.8, color: quiet ? "#9aa3ad" : palette[k % palette.length] }
      };
      if (data.z.length) trace.z = rows.map(function (i) { return data.z[i]; });
      return trace;
    });
  }
  function layout() {
    var style = getComputedStyle(document.body);
    var ink = style.getPropertyValue("--ink").trim(), card = style.getPropertyValue("--card").trim();
    var axis = { visible: false, fixedrange: false };
    return {
      margin: { l: 8, r: 8, t: 36, b: 8 }, xaxis: axis, yaxis: Object.assign({ scaleanchor: "x" }, axis), hovermode: "closest",
      scene: { xaxis: { visible: false }, yaxis: { visible: false }, zaxis: { visible: false } }, paper_bgcolor: card, plot_bgcolor: card, font: { color: ink }, showlegend: true,
      legend: { itemsizing: "constant", orientation: plot.clientWidth < 600 ? "h" : "v" }, dragmode: data.z.length ? "orbit" : "pan"
    };
  }
  function draw() {
    Plotly.react(plot, traces(choice.value), layout(), { responsive: true, displaylogo: false, scrollZoom: true,
      modeBarButtonsToRemove: ["sendDataToCloud", "lasso2d", "select2d"] });
  }
  choice.addEventListener("change", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  draw();
})();
