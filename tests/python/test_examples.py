"""The example scripts compute what other libraries compute, and refuse bad parameters with a sentence."""

import base64
import importlib.util
import json
import logging
import pathlib
import sys
import tempfile
import unittest
import zlib

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
QUIET = logging.getLogger("quiet")
QUIET.send_progress = lambda progress: None


def load(name):
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / name / "src" / "main.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Trend(unittest.TestCase):
    script = load("trend")

    def test_it_agrees_with_pymannkendall_and_scipy(self):
        result = self.script.run({}, QUIET)
        test, slope = result["mann_kendall"], result["sens_slope"]
        self.assertEqual((test["s"], test["trend"], slope["slope"]), (-1387, "decreasing", -2.6))
        self.assertAlmostEqual(test["z"], -4.128066522844101)
        self.assertAlmostEqual(test["p"], 3.658262921657496e-05)
        self.assertAlmostEqual(slope["intercept"], 5886.8)
        self.assertAlmostEqual(slope["lower"], -3.627906976744186)
        self.assertAlmostEqual(slope["upper"], -1.4285714285714286)

    def test_years_may_come_as_text(self):
        test = self.script.run({"from_year": "1900", "to_year": "1950", "alpha": "0.1"}, QUIET)["mann_kendall"]
        self.assertEqual((test["s"], test["trend"]), (54, "no trend"))

    def test_bad_parameters_are_refused(self):
        for params in ({"from_year": "x"}, {"from_year": 1965}, {"to_year": 1900.5}, {"alpha": 0}, {"alpha": True}):
            with self.assertRaises(self.script.UserInputError):
                self.script.run(params, QUIET)


class VegetationIndex(unittest.TestCase):
    script = load("vegetation-index")

    def setUp(self):
        """A scene of 2 x 2 pixels in the place of the package's; in the last pixel red saw nothing."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        data = pathlib.Path(folder.name, "spyndex", "data")
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        scene = [
            [[200, 200], [200, 200]],
            [[1000, 500], [500, 500]],
            [[1000, 500], [500, 0]],
            [[3000, 500], [4500, 500]],
        ]
        (data / "S2_10m.json").write_text(json.dumps(scene))
        sys.path.insert(0, folder.name)
        self.addCleanup(sys.path.remove, folder.name)

    def test_statistics_leave_out_pixels_that_saw_nothing(self):
        result = self.script.run({"bins": 4}, QUIET)
        statistics = result["statistics"]
        self.assertEqual((statistics["pixels"], statistics["valid_share"]), (4, 0.75))
        self.assertAlmostEqual(statistics["mean"], (0.5 + 0 + 0.8) / 3)
        self.assertAlmostEqual(statistics["percentiles"]["50"], 0.5)
        self.assertEqual(result["histogram"]["counts"], [1, 0, 1, 1])

    def test_every_index_follows_its_formula(self):
        window = [0, 0, 1, 1]
        for index, value in (
            ("ndvi", 0.5),
            ("EVI", 2.5 * 0.2 / 1.75),
            ("SAVI", 1.5 * 0.2 / 0.9),
            ("GNDVI", 0.5),
            ("NDWI", -0.5),
        ):
            self.assertAlmostEqual(
                self.script.run({"index": index, "window": window}, QUIET)["statistics"]["mean"], value
            )

    def test_the_picture_is_a_png(self):
        picture = base64.b64decode(self.script.run({}, QUIET)["quicklook"]["base64"])
        self.assertEqual(picture[:8], b"\x89PNG\r\n\x1a\n")
        start = picture.index(b"IDAT") + 4
        self.assertEqual(zlib.decompress(picture[start : picture.index(b"IEND") - 8]), bytes([0, 40, 1, 0, 63, 0]))

    def test_bad_parameters_are_refused(self):
        for params in (
            {"index": "X"},
            {"bins": 0},
            {"window": [0, 0, 3, 1]},
            {"window": "a"},
            {"soil_factor": "x"},
            {"window": "1,1,1,1"},
        ):
            with self.assertRaises(self.script.UserInputError):
                self.script.run(params, QUIET)


if __name__ == "__main__":
    unittest.main()
