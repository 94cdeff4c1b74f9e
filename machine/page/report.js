// A report: everything that it shows is in the block of JSON in the page.

const page = JSON.parse(document.getElementById("data").textContent);
if (page.steps.length) drawFigures(document.getElementById("figures"), page.figures, [{ name: "", ...page }]);
if (page.rollouts.rows.length) new Browser(document.getElementById("rollouts"), page.rollouts);
