//! What part of the roll is seen: zoom and scroll, as plain numbers. Knows nothing of egui.

/// Least part of the whole that a view shows.
const MIN_PART: f32 = 1.0 / 256.0;

/// A part of a whole that reaches from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    from: f32,
    to: f32,
}

impl Default for View {
    fn default() -> Self {
        Self { from: 0.0, to: 1.0 }
    }
}

impl View {
    /// The part of the whole that is seen.
    #[must_use]
    pub fn part(&self) -> f32 {
        self.to - self.from
    }

    /// Where a place of the whole is in the view: 0 to 1 are seen.
    #[must_use]
    pub fn project(&self, whole: f32) -> f32 {
        (whole - self.from) / self.part()
    }

    /// The place of the whole that is at a place in the view.
    #[must_use]
    pub fn place(&self, seen: f32) -> f32 {
        self.from + seen * self.part()
    }

    /// Shows `factor` times less or more, around the place in the view that stays where it is.
    pub fn zoom(&mut self, factor: f32, around: f32) {
        if !factor.is_finite() || factor <= 0.0 {
            return;
        }
        let part = (self.part() / factor).clamp(MIN_PART, 1.0);
        let fixed = self.place(around);
        self.set(fixed - around * part, part);
    }

    /// Moves by a part of what is seen.
    pub fn scroll(&mut self, by: f32) {
        if by.is_finite() {
            self.set(self.from + by * self.part(), self.part());
        }
    }

    /// Moves so that a place of the whole is at the left edge, if it is not seen.
    pub fn follow(&mut self, whole: f32) {
        if !(self.from..self.to).contains(&whole) {
            self.set(whole, self.part());
        }
    }

    fn set(&mut self, from: f32, part: f32) {
        self.from = from.min(1.0 - part).max(0.0);
        self.to = self.from + part;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f32, b: f32) -> bool {
        (a - b).abs() < 1e-5
    }

    #[test]
    fn zooming_keeps_the_place_under_the_mouse() {
        let mut view = View::default();
        view.zoom(4.0, 0.7);
        assert!(near(view.place(0.7), 0.7) && near(view.part(), 0.25));
        view.zoom(1.7, 0.2);
        let fixed = view.place(0.9);
        view.zoom(1.3, 0.9);
        assert!(near(view.place(0.9), fixed) && near(view.project(fixed), 0.9));
    }

    #[test]
    fn a_view_never_leaves_the_whole() {
        let mut view = View::default();
        for (factor, around, by) in [(3.0, 0.0, -2.0), (1e9, 0.5, 9.0), (0.0, 0.1, f32::NAN), (0.3, 1.0, 4.0), (1e-9, 0.3, 1.0)] {
            view.zoom(factor, around);
            view.scroll(by);
            assert!(view.from >= 0.0 && view.to <= 1.0 + 1e-6 && view.part() >= MIN_PART * 0.99, "{view:?}");
        }
        assert_eq!(view, View::default());
    }

    #[test]
    fn following_moves_only_what_is_out_of_sight() {
        let mut view = View::default();
        view.zoom(4.0, 0.0);
        let before = view;
        view.follow(0.2);
        assert_eq!(view, before);
        view.follow(0.6);
        assert!(near(view.place(0.0), 0.6));
        view.follow(0.95);
        assert!(near(view.place(1.0), 1.0));
    }
}
