import unittest

from task.orders import read_orders, read_settings, summary


class Orders(unittest.TestCase):
    def test_the_data_is_complete(self):
        self.assertEqual(len(read_orders()), 8)

    def test_sums_are_exact_and_small_ones_are_left_out(self):
        lines = summary(read_orders(), "country", read_settings())
        self.assertEqual(
            [line.split() for line in lines],
            [["DE", "160.83", "EUR"], ["FR", "76.25", "EUR"], ["AT", "20.00", "EUR"]],
        )


if __name__ == "__main__":
    unittest.main()
